"""What a frozen backbone says of images, made once and kept."""
