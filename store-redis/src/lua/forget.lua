-- ARGV: epoch, the position before which all is forgotten. Only says where the log begins now.
local h = call('HMGET', ledger, 'epoch', 'position', 'first', 'hash')
if h[1] ~= ARGV[1] then return { 'fenced', h[1] } end
local first = math.min(tonumber(ARGV[2]), h[2] + 1)
if first > tonumber(h[3]) then
    local hash = h[4]
    if first <= tonumber(h[2]) then
        local entry = call('HGET', entries, text(first - 1))
        hash = entry and entry:sub(17, 48) or call('HGET', ledger, 'before')
    end
    call('HSET', ledger, 'first', text(first), 'before', hash)
end
return { 'done' }
