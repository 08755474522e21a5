"""What runs ON a machine to keep a folder of code there: standard library only, Python >= 3.9, and no git. It is sent as text (../remote.py)."""
