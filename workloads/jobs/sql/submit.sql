select outcome, tenant, lane, at, charged, balance, coalesced, document from switchyard.submit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
