"""A door with failpoints in it; started by a receiver with failpoints in it."""

from covnode.chaos.failpoints import install, switches_of_the_environment
from covnode.chaos.points import Role
from covnode.wiring import door

if __name__ == "__main__":
    install(Role.DOOR, switches_of_the_environment())
    door.main()
