select switchyard.keys_of($1)
