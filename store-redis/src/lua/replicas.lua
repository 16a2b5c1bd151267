-- Returns replica, what it said, and how long ago, in turn.
local result, time = {}, now()
local said = call('ZRANGE', beaten, 0, -1, 'WITHSCORES')
for i = 1, #said, 2 do
    result[#result + 1] = said[i]
    result[#result + 1] = call('HGET', beats, said[i])
    result[#result + 1] = text(math.max(0, time - said[i + 1]))
end
return result
