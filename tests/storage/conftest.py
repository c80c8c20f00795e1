from tests.storage.fixtures import no_s3fs, proxy, s3, s3_client, s3_endpoint

__all__ = ["no_s3fs", "proxy", "s3", "s3_client", "s3_endpoint"]
