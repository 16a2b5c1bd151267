-- ARGV: how many. Removes entries that nobody can read any more; returns how many there are still.
local h = call('HMGET', ledger, 'first', 'swept')
local swept = math.min(tonumber(h[1]), h[2] + ARGV[1])
local gone = {}
for position = tonumber(h[2]), swept - 1 do gone[#gone + 1] = text(position) end
if #gone > 0 then
    call('HDEL', entries, unpack(gone))
    call('HSET', ledger, 'swept', text(swept))
end
return h[1] - swept
