package export

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/openalign/align/collector"
)

// What an app says of a person is in files only sealed: labels and data of a conversation, each under a key of the
// conversation's own. The keys are in the database and nowhere else. Erasing a user, or content by its age, destroys keys
// and changes no file.

const (
	keyBytes = 32 // AES-256
	// sealPrefix names the form of what follows: base64url of 8 bytes that name the key, a nonce of 12, and what AES-GCM makes.
	sealPrefix = "1:"
	// sealedName is the one member of sealed data, and with sealMark before it the beginning of the one sealed label.
	sealedName = "sealed"
	sealMark   = sealedName + ":"
)

var errSealed = errors.New("export: what is sealed cannot be opened: it was changed, or is of another conversation")

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails, see crypto/rand
	return key
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nameBytes is how much of a key's digest names it: of a conversation that was erased and went on, the old key is gone and
// another is there.
const nameBytes = 8

func nameOf(key []byte) []byte {
	sum := sha256.Sum256(key)
	return sum[:nameBytes]
}

// bound is what a sealed text is bound to, so that it opens nowhere else.
func bound(project, conversation, field string) []byte {
	text, _ := json.Marshal([]string{project, conversation, field}) // texts always are
	return text
}

func seal(key []byte, project, conversation, field, text string) (string, error) {
	aead, err := gcm(key)
	if err != nil {
		return "", err
	}
	var nonce [12]byte
	_, _ = rand.Read(nonce[:]) // never fails, see crypto/rand
	raw := append(nameOf(key), nonce[:]...)
	raw = aead.Seal(raw, nonce[:], []byte(text), bound(project, conversation, field))
	return sealPrefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

// open returns what was sealed; nothing, and not ok, where the key it was sealed with is gone.
func open(key []byte, project, conversation, field, sealed string) (plain []byte, ok bool, err error) {
	text, known := strings.CutPrefix(sealed, sealPrefix)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if !known || err != nil || len(raw) < nameBytes+12 {
		return nil, false, errSealed
	}
	if key == nil || !bytes.Equal(raw[:nameBytes], nameOf(key)) {
		return nil, false, nil
	}
	aead, err := gcm(key)
	if err != nil {
		return nil, false, err
	}
	plain, err = aead.Open(nil, raw[nameBytes:nameBytes+12], raw[nameBytes+12:], bound(project, conversation, field))
	if err != nil {
		return nil, false, errSealed
	}
	return plain, true, nil
}

// sealRow seals what is personal in a row, and returns the keys that it made for it. What says nothing is not sealed.
func sealRow(row *Row, project string, keys collector.ExportKeys) (made collector.ExportKeys, err error) {
	id := row.PlatformConversationID
	if len(row.Labels) > 0 {
		if keys.Labels == nil {
			made.Labels = newKey()
			keys.Labels = made.Labels
		}
		list, err := json.Marshal(row.Labels)
		if err != nil {
			return made, err
		}
		sealed, err := seal(keys.Labels, project, id, "labels", string(list))
		if err != nil {
			return made, err
		}
		row.Labels = []string{sealMark + sealed}
	}
	if row.ConversationsData != noData {
		if keys.Content == nil {
			made.Content = newKey()
			keys.Content = made.Content
		}
		sealed, err := seal(keys.Content, project, id, "conversations_data", row.ConversationsData)
		if err != nil {
			return made, err
		}
		object, err := json.Marshal(map[string]string{sealedName: sealed})
		if err != nil {
			return made, err
		}
		row.ConversationsData = string(object)
	}
	return made, nil
}

// openRow opens what is sealed in a row. What nobody can open any more is absent.
func openRow(row *Row, project string, keys collector.ExportKeys) error {
	id := row.PlatformConversationID
	if len(row.Labels) == 1 && strings.HasPrefix(row.Labels[0], sealMark) {
		list, ok, err := open(keys.Labels, project, id, "labels", strings.TrimPrefix(row.Labels[0], sealMark))
		if err != nil {
			return err
		}
		row.Labels = []string{}
		if ok {
			if err := json.Unmarshal(list, &row.Labels); err != nil {
				return errSealed
			}
		}
	}
	if row.ConversationsData == noData {
		return nil
	}
	var object map[string]string
	if err := json.Unmarshal([]byte(row.ConversationsData), &object); err != nil {
		return errSealed
	}
	data, ok, err := open(keys.Content, project, id, "conversations_data", object[sealedName])
	if err != nil {
		return err
	}
	row.ConversationsData = noData
	if ok {
		row.ConversationsData = string(data)
	}
	return nil
}
