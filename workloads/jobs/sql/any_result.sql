select switchyard.any_result($1)
