-- ARGV: epoch, the letter before the first one, how many, how many bytes. Returns ids and letters in turn.
local epoch = call('HGET', ledger, 'epoch')
if epoch ~= ARGV[1] then return { 'fenced', epoch } end
local result, sum = { 'letters' }, 0
for _, id in ipairs(call('ZRANGEBYSCORE', inbox, '(' .. ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])) do
    -- (A letter begins with 21 bytes: sender, kind, length of the key.)
    sum = sum + call('HSTRLEN', letters, id) - 21
    if sum > tonumber(ARGV[4]) and #result > 1 then break end
    result[#result + 1] = id
    result[#result + 1] = call('HGET', letters, id)
end
return result
