select switchyard.mark_published($1, $2)
