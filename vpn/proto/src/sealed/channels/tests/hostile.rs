//! What a hostile peer may not do, and how much memory it may take.

use super::*;

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let listening = Answer::Listening { port: 1 };
    let refused = Answer::NotListening { status: OpenStatus::Refused, text: String::new() };
    let ended = Answer::Unlistened(None);
    let listen = Question::Listen("localhost:0".to_owned());
    for (question, answer, fits) in [
        (&listen, &listening, true),
        (&listen, &refused, true),
        (&listen, &ended, false),
        (&Question::Unlisten(1), &ended, true),
        (&Question::Unlisten(1), &listening, false),
        (&Question::Unlisten(1), &refused, false),
    ] {
        let mut client = Channels::new(Role::Client, ChannelLimits::default());
        let number = client.ask(question.clone()).unwrap();
        let handled = client.handle(Frame::Answer { number, answer: answer.clone() });
        let wrong = SealedError::Malformed("an answer to no question");
        assert_eq!(handled, if fits { Ok(()) } else { Err(wrong) }, "{question:?} {answer:?}");
    }
}
