"""Reading what comes in: clips, arrays, images and masks, laid over each other as what a chunk is made from; and ffmpeg."""
