"""An emulated machine with real NIC drivers and other kernels; `tools/nic-lab --help`."""
