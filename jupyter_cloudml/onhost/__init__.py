"""What programs share that run ON a machine: standard library only, Python >= 3.9. It is sent as text with each of them (../link/sent_program.py)."""
