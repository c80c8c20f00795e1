"""Reading what comes in: clips, arrays, images and masks, composed to what a chunk is made from; and ffmpeg."""
