-- Health of an AnalyticsPlatform or a WorkerPool. Argo CD calls it with the object as `obj`.
-- Only conditions of the current generation count, because older ones describe an older spec.
local generation = obj.metadata.generation
local status = obj.status or {}

local function condition(kind)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == kind and found.observedGeneration == generation then
      return found
    end
  end
end

local function is_true(found)
  return found ~= nil and found.status == "True"
end

local function health(word, message)
  return { status = word, message = message }
end

local ready = condition("Ready")
if status.observedGeneration ~= generation or ready == nil then
  return health("Progressing", "The operator has not reconciled this spec yet.")
end

-- A platform has the field; a pool reports the reason Paused if its platform is paused.
if obj.spec.paused or ready.reason == "Paused" then
  return health("Suspended", ready.message)
end

local stalled, reconciling = condition("Stalled"), condition("Reconciling")
if is_true(stalled) then
  return health("Degraded", stalled.message)
end
if is_true(reconciling) then
  return health("Progressing", reconciling.message)
end
if is_true(ready) then
  return health("Healthy", ready.message)
end
return health("Progressing", ready.message)
