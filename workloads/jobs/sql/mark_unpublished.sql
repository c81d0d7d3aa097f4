select switchyard.mark_unpublished($1)
