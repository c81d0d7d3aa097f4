select switchyard.create_tenant($1, $2, $3, $4)
