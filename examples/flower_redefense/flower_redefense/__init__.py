"""A network for handwritten digits on Flower, behind FedREDefense."""
