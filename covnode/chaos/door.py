"""A door with failpoints in it; started by a receiver with failpoints in it."""

from covnode.chaos.failpoints import install, run_on_host, switches_of_the_environment
from covnode.chaos.points import Role
from covnode.wiring import door

if __name__ == "__main__":
    switches = switches_of_the_environment()
    run_on_host(switches.host(Role.RECEIVE))
    install(Role.DOOR, switches)
    door.main()
