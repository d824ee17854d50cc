module suture.invalid/victim

go 1.19
