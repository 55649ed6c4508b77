-- wrk script: walks a list of signed targets, one `path?query` a line.
--
-- Environment: URLS (the file), METHOD, SIZE (bytes of the body of a PUT; of the answer of a GET, for the
-- arithmetic only), ORDER = random | walk | once, CONNECTIONS (for `once`). Prints one RESULT line.
--
-- `once` reads the file as it goes, so that a list of millions costs no memory, and ends the run behind its last
-- line: it repeats that line until everything before it must have been answered, and then interrupts wrk, which
-- would sleep out its time otherwise.
local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int process, int signal);")
local SIGINT = 2
local method = os.getenv("METHOD") or "GET"
local size = tonumber(os.getenv("SIZE") or "0")
local order = os.getenv("ORDER") or "random"
local connections = tonumber(os.getenv("CONNECTIONS") or "64")
local urls, at, repeated, file, body, first = {}, 0, 0, nil, nil, nil

local function random_body(bytes)
  local pieces = {}
  for n = 1, 1024 do pieces[n] = string.char(math.random(0, 255)) end
  local kib = table.concat(pieces)
  return string.rep(kib, math.floor(bytes / 1024)) .. string.sub(kib, 1, bytes % 1024)
end

function init(args)
  math.randomseed(os.time())
  if order == "once" then
    file = io.open(os.getenv("URLS"))
  else
    for line in io.lines(os.getenv("URLS")) do urls[#urls + 1] = line end
  end
  if method == "PUT" then body = random_body(size) end
end

local function next_url()
  if order == "once" then
    local line = file:read("*l")
    -- The first request is not sent: wrk asks for one to see what they look like. So its line comes twice.
    if not first then
      first = line
      file:seek("set", 0)
    end
    if line then at = line else repeated = repeated + 1 end
    if repeated == 4 * connections then ffi.C.kill(ffi.C.getpid(), SIGINT) end
    return at
  end
  if order == "walk" then at = at % #urls + 1 else at = math.random(#urls) end
  return urls[at]
end

function request()
  return wrk.format(method, next_url(), nil, body)
end

function done(summary, latency, requests)
  local seconds, count, errors = summary.duration / 1e6, summary.requests, summary.errors
  io.write(string.format(
    "RESULT method=%s size=%d reqs=%d secs=%.2f rps=%.1f MiBps=%.1f p50ms=%.3f p99ms=%.3f p999ms=%.3f errors=%d\n",
    method, size, count, seconds, count / seconds, count * size / 1048576 / seconds,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
