select switchyard.grant_credits($1, $2, $3)
