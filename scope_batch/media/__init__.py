"""Reading what comes in: clips, arrays and image folders as windows of uint8 frames; and the ffmpeg child process."""
