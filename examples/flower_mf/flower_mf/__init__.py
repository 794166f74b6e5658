"""Matrix factorisation on Flower: users grouped on nodes, behind UNION and Multi-Krum."""
