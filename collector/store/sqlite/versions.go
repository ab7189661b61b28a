package sqlite

import (
	"bytes"
	"encoding/json"
)

// sayMessages stores message events and counts the indexes that had none before.
//
// Nearly every index has one event for ever, so that is one insert. When there is more than one, each distinct role and
// content becomes a row in versions, and the row in messages shows the one whose event is last.
func (t *transaction) sayMessages(project string, said []*piece) error {
	properties := make([]string, len(said))
	for i, p := range said {
		var err error
		if properties[i], err = encodeProperties(p.message.properties); err != nil {
			return err
		}
	}
	added, err := t.messages.insert(len(said), func(args []any, i int) []any {
		p, m := said[i], said[i].message
		return append(args, project, p.sessionID, m.index, m.turn, m.role, m.content, m.time, properties[i], m.detail, 1, m.at.Time, m.at.ID, m.version)
	})
	if err != nil {
		return err
	}
	for i, p := range said {
		if added[i] {
			t.session(project, p.sessionID).messages++
		} else if err := t.addVersion(project, p.sessionID, p.message); err != nil {
			return err
		}
	}
	return nil
}

// addVersion joins a message event with those that are at its index already.
func (t *transaction) addVersion(project, session string, m *message) error {
	var (
		seq      int64
		versions int
		shown    = message{index: m.index}
		props    string
	)
	if err := t.selectMessage.QueryRow(project, session, m.index).Scan(
		&seq, &shown.role, &shown.content, &shown.time, &props, &shown.detail, &versions, &shown.at.Time, &shown.at.ID, &shown.version); err != nil {
		return err
	}
	if m.at == shown.at {
		return nil // the same event, told again in a replay
	}
	if m.turn != 0 { // all at a place are of one turn, or nearly always: any rule will do that does not ask who came first
		if _, err := exec(t.raiseTurn, project, session, m.index, m.turn); err != nil {
			return err
		}
	}
	// Until now one event spoke for the index; then all its properties are that event's.
	first := version{Time: shown.time, stamp: shown.at, Detail: shown.register()}
	properties, err := decodeProperties(props)
	if err != nil {
		return err
	}
	for name, value := range properties {
		if first.Properties == nil {
			first.Properties = registers{}
		}
		first.Properties[name] = register{value, shown.at}
	}
	if _, err := t.keepVersion(project, session, &shown, &first); err != nil {
		return err
	}

	joined := version{Time: m.time, stamp: m.at, Detail: m.register()}
	joined.Properties.joinLast(m.properties)
	added, err := t.keepVersion(project, session, m, &joined)
	if err != nil {
		return err
	}
	if added {
		versions++
	} else if joined, err = t.joinVersion(project, session, m, joined); err != nil {
		return err
	}

	same := bytes.Equal(m.key(), shown.key())
	switch {
	case joined.compare(shown.at) > 0 || same:
		if props, err = encodeProperties(joined.Properties); err != nil {
			return err
		}
		content := m.content
		if same && m.version != nil {
			content = shown.content // which may be there still
		}
		shown = message{role: m.role, content: content, time: joined.Time, detail: joined.Detail.Value, at: joined.stamp, version: m.version}
		if content != "" {
			shown.version = nil
		}
	case !added:
		return nil
	}
	_, err = exec(t.updateMessage, shown.role, shown.content, shown.time, props, shown.detail, versions, shown.at.Time, shown.at.ID, shown.version, seq)
	return err
}

// register returns the detail and who told it.
func (m *message) register() register {
	if m.detail == "" {
		return register{}
	}
	return register{m.detail, m.at}
}

// key tells versions of an index apart.
func (m *message) key() []byte {
	if m.version != nil {
		return m.version
	}
	key := digest(m.role, m.content)
	return key[:]
}

// keepVersion adds a version unless it is there, and reports whether it was not.
func (t *transaction) keepVersion(project, session string, m *message, v *version) (added bool, err error) {
	state, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	key := m.key()
	n, err := exec(t.insertVersion, project, session, m.index, key, string(state))
	return n == 1, err
}

// joinVersion adds an event to its version, and returns the version.
func (t *transaction) joinVersion(project, session string, m *message, said version) (known version, err error) {
	key := m.key()
	if err := load(t.selectVersion, &known, project, session, m.index, key); err != nil {
		return known, err
	}
	known.join(said)
	state, err := json.Marshal(&known)
	if err != nil {
		return known, err
	}
	_, err = exec(t.updateVersion, string(state), project, session, m.index, key)
	return known, err
}

// encodeProperties returns a JSON object, or nothing when there are none.
func encodeProperties(r registers) (string, error) {
	if len(r) == 0 {
		return "", nil
	}
	text, err := json.Marshal(r.values())
	return string(text), err
}

func decodeProperties(text string) (properties map[string]string, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &properties)
	}
	return properties, err
}
