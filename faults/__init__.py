"""Fault injection: killed runs, failing disks, corrupt files, concurrent runs and random command lines."""
