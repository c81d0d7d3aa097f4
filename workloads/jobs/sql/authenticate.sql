select switchyard.authenticate($1)
