-- In front of each script. What a federation has is in these keys (the names and what is in them: src/schema.rs).
local ledger, entries, inbox, letters, names, once, of, answers, answered, beats, beaten, parts = unpack(KEYS, 1, 12)
local call = redis.call

local version = call('HGET', ledger, 'schema')
if not version then return redis.error_reply('NOLEDGER there is no ' .. ledger) end
if tonumber(version) < $LEAST or tonumber(version) > $SCHEMA then return redis.error_reply('SCHEMA ' .. version) end

-- Numbers are exact up to 2^53, and are written without an exponent.
local function text(number) return string.format('%.0f', number) end

-- So that the order of texts is that of numbers.
local function padded(number) return string.format('%016.0f', number) end

-- The server's clock, in microseconds.
local function now()
    local time = call('TIME')
    return time[1] * 1000000 + time[2]
end

-- A hint for those who wait. Who may not publish only makes them look more often.
local function tell() redis.pcall('PUBLISH', ledger, '') end

local function head()
    local h = call('HMGET', ledger, 'schema', 'epoch', 'position', 'hash', 'first', 'before', 'elapsed_at', 'elapsed', 'elapsed_said')
    if h[7] then h[8] = text(h[8] + math.max(0, now() - h[9])) end
    h[9] = nil
    return h
end

-- Takes a letter out; returns who wrote it, or nothing if it is not there.
local function take(id)
    local name = call('HGET', names, id)
    if not name then return nil end
    local from = name:sub(-16)
    call('HDEL', letters, id)
    call('HDEL', names, id)
    call('ZREM', inbox, id)
    call('ZREM', of, from .. padded(id))
    if #name > 16 then call('HDEL', once, name:sub(1, -17)) end
    return from
end
