"""Records of the quantization parameters, in the formats that hardware toolchains read and write."""
