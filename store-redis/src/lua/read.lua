-- ARGV: the position before the first entry, how many, how many bytes. Returns where the log begins, and the entries.
local h = call('HMGET', ledger, 'first', 'position')
local after, sum = tonumber(ARGV[1]), 0
local result = { h[1] }
if after + 1 < tonumber(h[1]) then return result end
for position = after + 1, math.min(after + ARGV[2], tonumber(h[2])) do
    -- (An entry begins with 16 bytes of its epoch and 32 of its hash.)
    sum = sum + call('HSTRLEN', entries, text(position)) - 48
    if sum > tonumber(ARGV[3]) and #result > 1 then break end
    result[#result + 1] = call('HGET', entries, text(position))
end
return result
