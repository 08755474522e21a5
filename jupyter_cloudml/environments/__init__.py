"""Which Python of a host runs its kernels, and how a host without one gets an environment with ipykernel."""
