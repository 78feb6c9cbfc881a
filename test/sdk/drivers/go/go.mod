module millicent/tokens-driver

go 1.19

require millicent/tokens v0.0.0

replace millicent/tokens => ../../../../src/sdk/go
