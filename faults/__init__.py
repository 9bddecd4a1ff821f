"""Fault injection: killed runs, signals, failing disks, corrupt files, concurrent processes, random command lines."""
