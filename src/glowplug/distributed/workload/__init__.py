"""The sparse DNN challenge: a generated network, inputs, an oracle and a fast kernel."""
