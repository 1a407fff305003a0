"""Tables, sessions, repositories, the identity vault and the files of the home folder."""
