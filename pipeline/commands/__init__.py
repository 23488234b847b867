"""The commands of ``vtt``, one file a group; each imports its stage only when it is called."""
