select switchyard.facts()
