"""How large a picture, a state, an action and a chunk are."""

IMAGE_SIZE = 64
STATE_SIZE = 4
ACTION_SIZE = 4
CHUNK = 8
FRAMES = 2  # pictures a chunk
BETWEEN = CHUNK // FRAMES  # actions from one picture to the next
