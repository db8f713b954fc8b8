import torch

from sensibert.training.distillation import distilled_loss, hidden_distance


def test_the_distilled_loss_is_hintons():
    torch.manual_seed(0)
    logits, answers, loss = torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.7)
    soft = (answers / 2).softmax(-1)
    expected = 4 * (soft * (soft.log() - (logits / 2).log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(distilled_loss(loss, logits, answers, 2.0, 1.0), expected)
    torch.testing.assert_close(distilled_loss(loss, logits, answers, 2.0, 0.25), 0.75 * loss + 0.25 * expected)
    torch.testing.assert_close(distilled_loss(loss, logits, logits, 2.0, 1.0), torch.tensor(0.0), atol=1e-6, rtol=0)
    numbers, wanted = torch.randn(4, 1), torch.randn(4, 1)
    torch.testing.assert_close(distilled_loss(loss, numbers, wanted, 2.0, 1.0), (numbers - wanted).square().mean())


def test_the_hidden_distance_is_the_mean_over_layers_and_real_tokens():
    torch.manual_seed(0)
    student, teacher = (tuple(torch.randn(2, 3, 4) for _ in range(3)) for _ in range(2))
    attention_mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    real = [(0, 0), (0, 1), (0, 2), (1, 0)]
    squares = [
        (student[layer][text, token] - teacher[layer][text, token]).square().mean()
        for layer in (1, 2)  # the embeddings are shared
        for text, token in real
    ]
    torch.testing.assert_close(hidden_distance(student, teacher, attention_mask), torch.stack(squares).mean())
    everything = torch.ones_like(attention_mask)
    torch.testing.assert_close(hidden_distance(student, teacher, None), hidden_distance(student, teacher, everything))
    assert hidden_distance(student, student, attention_mask) == 0
