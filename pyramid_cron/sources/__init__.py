"""Tasks from elsewhere: programs, folders of scripts, crontabs."""
