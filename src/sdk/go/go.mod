module millicent/tokens

go 1.19
