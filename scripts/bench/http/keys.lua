-- Gives each thread of wrk, and so its connections, a bearer key of its own: the arguments after `--`.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  wrk.headers["Authorization"] = "Bearer " .. args[number % #args + 1]
end
