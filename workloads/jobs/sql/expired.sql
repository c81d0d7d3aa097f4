select switchyard.expired($1)
