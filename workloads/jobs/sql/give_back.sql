select switchyard.give_back($1, $2)
