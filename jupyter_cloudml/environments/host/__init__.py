"""What runs ON a machine to look at its Pythons and to keep environments there: standard library only, Python >= 3.9.

The modules are sent as text and started by `loader.py`, so they import nothing of this project but each other. Standard input brings one line of JSON,
the arguments. Standard output is the installer's log; each line of standard error is a JSON object: {"step": text} or the outcome, which comes
last: {"facts": …}, {"ready": path}, {"environments": …}, {"failed": reason}, {"no_space": path, "free": bytes}, {"in_use": [pid]}.

  facts   what a Python says of itself          put, drop   write a piece of a file into the cache folder, delete it
  scan    the packages that a Python sees       tool        make a program of a wheel that was put
  use     an environment that stands ready      build       make one: under a lock, in a scratch folder, renamed at the end
  list    what there is                         remove      delete one that nothing runs in
"""
