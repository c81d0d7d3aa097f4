package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// health is the health of an object in Argo CD.
type health struct{ status, message string }

// healthOf computes the health of an object as Argo CD does. An object under deletion is
// Progressing; for others the script decides.
func healthOf(object *unstructured.Unstructured, script string) (health, error) {
	if object.GetDeletionTimestamp() != nil {
		return health{"Progressing", "Pending deletion"}, nil
	}
	// Argo CD opens the libraries base, package and table, and limits a script to one second. The
	// script needs no `package`.
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return health{}, err
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limit)
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(script); err != nil {
		return health{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, errors.New("the script returned no table")
	}
	found := health{table.RawGetString("status").String(), table.RawGetString("message").String()}
	if !slices.Contains([]string{"Healthy", "Progressing", "Degraded", "Suspended"}, found.status) {
		return found, fmt.Errorf("the script returned the status %q", found.status)
	}
	return found, nil
}

// toLua converts decoded JSON to Lua.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := state.NewTable()
		for _, child := range value {
			table.Append(toLua(state, child))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, child := range value {
			table.RawSetString(key, toLua(state, child))
		}
		return table
	default:
		return lua.LNil
	}
}
