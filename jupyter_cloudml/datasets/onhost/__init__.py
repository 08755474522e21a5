"""What runs ON a machine to fetch and send the files of a dataset: standard library only, Python >= 3.9. It is sent as text, with ../../onhost/folder.py (../program.py)."""
