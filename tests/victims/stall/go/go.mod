module suture.invalid/stall

go 1.19
