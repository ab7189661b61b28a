package outcome

import (
	"strings"
	"unicode"
)

// The phrases the rules know, in the languages most chats are in. They are compared without case, accents and punctuation,
// word for word. A language that is missing costs little: its messages count as meaningful, and as no call for a human.

// maxSmallTalk is how many tokens small talk has at most; scripts without spaces have one a character.
const maxSmallTalk = 16

func phrases(lines string) (list []string) {
	for line := range strings.Lines(lines) {
		for one := range strings.SplitSeq(line, ",") {
			if words := tokens(one); len(words) > 0 {
				list = append(list, " "+strings.Join(words, " ")+" ")
			}
		}
	}
	return list
}

// beginnings is phrases, of which those in Korean may go on in the word they end with: it has its particles there.
func beginnings(lines string) []string {
	list := phrases(lines)
	for i, p := range list {
		if last := strings.TrimSuffix(p, " "); strings.IndexFunc(last, isHangul) >= 0 {
			list[i] = last
		}
	}
	return list
}

func isHangul(r rune) bool { return unicode.Is(unicode.Hangul, r) }

var greetings = phrases(`
	hi, hello, hey, hiya, yo, howdy, hi there, hello there, hey there, good morning, good afternoon, good evening, good day, greetings, how are you, how are you doing, is anyone there, anyone there
	hallo, guten tag, guten morgen, guten abend, moin, servus, gruss gott, grüß dich, wie gehts, wie geht es dir, wie geht es ihnen
	bonjour, salut, bonsoir, coucou, ça va, comment allez vous
	hola, buenos dias, buenas tardes, buenas noches, buenas, que tal, como estas
	ola, oi, bom dia, boa tarde, boa noite, tudo bem
	ciao, buongiorno, buonasera, salve
	hoi, goedemorgen, goedemiddag, goedenavond, goedendag, dag
	hej, hejsan, tjena, god morgon, god dag, hei, god morgen
	witam, czesc, dzien dobry, привет, здравствуйте, добрый день, добрый вечер, доброе утро, привіт, добрий день
	merhaba, selam, günaydin, iyi aksamlar, مرحبا, السلام عليكم, اهلا, صباح الخير, שלום, नमस्ते, नमस्कार, สวัสดี, สวัสดีครับ, สวัสดีค่ะ
	xin chào, chào, halo, hai, selamat pagi, selamat siang, selamat malam
	안녕, 안녕하세요, 안녕하십니까, 반갑습니다, こんにちは, こんばんは, おはよう, おはようございます, もしもし, はじめまして, 你好, 您好, 早上好, 下午好, 晚上好, 嗨, 哈喽, 在吗
`)

var thankyous = phrases(`
	thanks, thank you, thank you so much, thank you very much, thanks a lot, thanks so much, thanks very much, many thanks, thx, ty, cheers, much appreciated, i appreciate it, appreciate it
	great, perfect, awesome, excellent, wonderful, cool, nice, good, ok, okay, alright, sounds good, sounds great, got it, that works, that worked, it works, it works now, it worked, that helps, that helped, that was helpful, very helpful, that is helpful, that solved it, solved, problem solved, that fixed it, fixed, exactly, that is all, that s all, that ll be all, that will be all, that is it, that s it, no that is all, no that s all, no thanks, no thank you, nothing else, all good, i m good, bye, goodbye, bye bye, see you, see you later, have a nice day, have a good day, have a great day, you too, yes that helps, yes that works, yes thanks, yes thank you, for your help, for the help, for your time, for helping, for helping me, for now, that is all i need, that s all i need, that s all i needed
	danke, danke schön, vielen dank, besten dank, dankeschön, danke dir, danke ihnen, super, prima, toll, alles klar, das hilft, das hat geholfen, hat geklappt, funktioniert, funktioniert jetzt, passt, tschüss, auf wiedersehen, nein danke, das wars, das war s, das war alles, für die hilfe, für ihre hilfe, für deine hilfe
	merci, merci beaucoup, je vous remercie, parfait, super merci, d accord, ça marche, c est bon, au revoir, bonne journée, non merci, c est tout, pour votre aide
	gracias, muchas gracias, mil gracias, perfecto, genial, vale, de acuerdo, listo, adios, hasta luego, no gracias, eso es todo, por tu ayuda, por su ayuda
	obrigado, obrigada, muito obrigado, muito obrigada, valeu, perfeito, otimo, beleza, tchau, não obrigado, é so isso, pela ajuda
	grazie, grazie mille, perfetto, ottimo, va bene, arrivederci, no grazie, è tutto
	bedankt, dank je, dank u, dankjewel, prima bedankt, tot ziens, nee bedankt, dat is alles
	tack, tack så mycket, tusen tack, toppen, bra, hej då, nej tack, takk, tusen takk, tak, mange tak
	dziekuje, dzieki, super dzieki, спасибо, большое спасибо, спасибо большое, отлично, понятно, хорошо, до свидания, дякую
	tesekkürler, tesekkür ederim, sagol, tamam, شكرا, شكرا جزيلا, ممتاز, תודה, תודה רבה, धन्यवाद, शुक्रिया, ขอบคุณ, ขอบคุณครับ, ขอบคุณค่ะ
	cam on, cảm ơn, cảm ơn bạn, terima kasih, makasih
	감사합니다, 고맙습니다, 고마워요, 고마워, 감사해요, 네 감사합니다, 네, 좋아요, 알겠습니다, 해결됐어요, 해결되었습니다, ありがとう, ありがとうございます, ありがとうございました, どうも, 助かりました, わかりました, 解決しました, 了解です, 谢谢, 谢谢你, 谢谢您, 多谢, 感谢, 非常感谢, 谢谢啦, 好的, 明白了, 解决了, 可以了, 再见, 謝謝, 謝謝你, 多謝
`)

// pleasantry is a phrase that asks for nothing.
type pleasantry struct {
	phrase string
	kind   talk
}

var pleasantries = func() (list []pleasantry) {
	for _, p := range greetings {
		list = append(list, pleasantry{p, greeting})
	}
	for _, p := range thankyous {
		list = append(list, pleasantry{p, thanks})
	}
	return list
}()

// calls are how users ask for a human.
var calls = beginnings(`
	speak to a human, talk to a human, speak with a human, talk with a human, chat with a human, human please, a human please, real human, actual human, human being please, human agent, human support, need a human, want a human, get me a human
	speak to a person, talk to a person, speak with a person, real person, actual person, live person, live agent, live chat agent, live support, speak to someone, talk to someone, speak with someone
	speak to an agent, talk to an agent, speak with an agent, talk with an agent, chat with an agent, connect me to an agent, connect me with an agent, transfer me, agent please, speak to a representative, talk to a representative, representative please, customer service representative, speak to your manager, speak to a manager, talk to a manager, speak to an operator, talk to an operator, operator please, customer service agent
	mit einem menschen, mit einem mitarbeiter, mit einer mitarbeiterin, mit jemandem sprechen, mit einem echten menschen, echter mensch, echten menschen, menschlichen mitarbeiter, einen mitarbeiter bitte, mitarbeiter sprechen, mit einem berater, kundenberater sprechen
	parler à un humain, parler à quelqu un, parler à un conseiller, parler à une personne, parler avec un conseiller, parler à un agent, un vrai humain, une vraie personne, un humain svp, un conseiller svp
	hablar con un humano, hablar con una persona, hablar con un agente, hablar con alguien, hablar con un asesor, persona real, agente humano, un humano por favor, un agente por favor
	falar com um humano, falar com uma pessoa, falar com um atendente, falar com alguém, falar com um agente, pessoa real, atendente humano, atendente por favor
	parlare con un umano, parlare con una persona, parlare con un operatore, parlare con qualcuno, persona vera, operatore umano, un operatore per favore
	met een mens, met een medewerker, met iemand praten, met iemand spreken, echt persoon, echte medewerker, een medewerker spreken
	prata med en människa, prata med en person, prata med någon, riktig person, prata med en handläggare, tala med en människa, snakke med et menneske, snakke med en person, tale med et menneske
	rozmawiać z człowiekiem, rozmawiać z konsultantem, połączyć z konsultantem, поговорить с человеком, поговорить с оператором, живой человек, живого человека, соедините с оператором, позовите оператора, свяжите с оператором
	insanla konuşmak, temsilciyle görüşmek, müşteri temsilcisine bağlan, gerçek bir kişi, التحدث مع موظف, التحدث مع شخص, اريد موظف, इंसान से बात, एजेंट से बात, คุยกับเจ้าหน้าที่, คุยกับคน, ติดต่อเจ้าหน้าที่
	nói chuyện với nhân viên, gặp nhân viên, bicara dengan manusia, bicara dengan agen, bicara dengan cs
	상담원 연결, 상담원과, 상담원 불러, 상담사 연결, 상담사와, 사람과 통화, 사람이랑, 사람과 이야기, 사람과 대화, 직원과, オペレーター, 担当者につな, 担当者と話, 人間と話, 人と話したい, 有人対応, 转人工, 人工客服, 人工服务, 真人客服, 找真人, 找人工, 轉人工, 真人客服
`)

// negations say, shortly before a call, that it is none.
var negations = func() map[string]bool {
	m := map[string]bool{}
	for _, p := range phrases("not, dont, don, never, without, no need, kein, keinen, keine, nicht, ohne, pas, sans, sin, sem, senza, geen, niet, zonder, inte, utan, nie, bez, не, без") {
		for _, token := range strings.Fields(p) {
			m[token] = true
		}
	}
	delete(m, "no")
	delete(m, "need")
	return m
}()

// offers are how assistants take leave.
var offers = beginnings(`
	anything else, something else, else i can help, else i can do, help you with anything, was that helpful, did that help, does that help
	sonst noch, noch etwas, weitere fragen, autre chose, algo más, alguna otra, mais alguma coisa, algo mais, altro posso, qualcos altro, nog iets, något annat, något mer
	что-нибудь ещё, что-то ещё, başka bir, 다른 도움, 더 도와, 추가로 도와, 他に何か, ほかに, 还有什么, 还有其他, 其他问题
`)
