-- ARGV: for whom, how many, how many bytes. Returns ids and answers in turn.
local result, sum = {}, 0
for _, name in ipairs(call('ZRANGEBYLEX', answered, '[' .. ARGV[1], '[' .. ARGV[1] .. '~', 'LIMIT', 0, ARGV[2])) do
    sum = sum + call('HSTRLEN', answers, name)
    if sum > tonumber(ARGV[3]) and #result > 0 then break end
    result[#result + 1] = name:sub(17)
    result[#result + 1] = call('HGET', answers, name)
end
return result
