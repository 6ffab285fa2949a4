/// <summary>The swap that tells the two captions of an item apart.</summary>
enum Swap
{
    /// <summary>Two objects exchange their colours.</summary>
    Attribute,

    /// <summary>Two objects exchange their sizes.</summary>
    Size,

    /// <summary>Two objects exchange their places: what is left of what.</summary>
    Relation,

    /// <summary>Two kinds of object exchange their numbers: two of these and one of those.</summary>
    Count,
}

/// <summary>What an object is.</summary>
readonly record struct Kind(int Color, int Shape)
{
    public override string ToString() => $"{World.Colors[Color].Name} {World.Shapes[Shape]}";
}

/// <summary>An object in a scene.</summary>
/// <param name="Kind">Colour and shape.</param>
/// <param name="Radius">Pixels.</param>
/// <param name="X">Of the centre, pixels.</param>
/// <param name="Y">Of the centre, pixels.</param>
sealed record Thing(Kind Kind, float Radius, float X = 0, float Y = 0);

/// <summary>A picture to be drawn, and what is true of it.</summary>
sealed record Scene(IReadOnlyList<Thing> Things, string Caption, int Seed);

/// <summary>Two scenes with two captions: each caption is right for its own scene and wrong for the other, and the words of the one
/// are those of the other in another order. Which of the two comes first is drawn by lot.</summary>
sealed record Item(Swap Swap, Scene First, Scene Second);

/// <summary>Draws scenes and words by lot. Pairs of colour and shape that are held out are in no training scene and in no training
/// caption; every held-out item has one in each of its scenes and captions.</summary>
sealed class World
{
    public const int Edge = 48;
    const float Small = 5, Big = 8.5f;

    public static readonly (string Name, byte R, byte G, byte B)[] Colors =
    [
        ("red", 215, 35, 35), ("green", 40, 160, 50), ("blue", 40, 70, 220), ("yellow", 240, 215, 40), ("purple", 130, 40, 160), ("orange", 245, 135, 25),
        ("pink", 245, 140, 190), ("cyan", 50, 205, 215),
    ];

    public static readonly string[] Shapes = ["circle", "square", "triangle", "star", "cross", "ring"];

    readonly Random _random;

    World(int seed) => _random = new(seed);

    /// <summary>One of six for each colour, so that each shape is held out with one or two colours.</summary>
    public static bool IsHeldOut(Kind kind) => (kind.Color * 5 + 1) % Shapes.Length == kind.Shape;

    static readonly Swap[] s_allSwaps = Enum.GetValues<Swap>();

    /// <summary>Items of each swap in turn, the same each time they are enumerated.</summary>
    /// <param name="seed">Another seed gives others.</param>
    /// <param name="count">Items.</param>
    /// <param name="heldOut">True: with a held-out pair in each scene; false: with none.</param>
    /// <param name="swaps">The order of the swaps; null for each one equally often.</param>
    public static IEnumerable<Item> Items(int seed, int count, bool heldOut, IReadOnlyList<Swap>? swaps = null)
    {
        swaps ??= s_allSwaps;
        var world = new World(seed);
        for (int i = 0; i < count; i++) yield return world.Next(swaps[i % swaps.Count], heldOut);
    }

    Item Next(Swap swap, bool heldOut)
    {
        while (true)
        {
            Kind a = Kind(), b = Kind(), other = Kind();
            if (a.Color == b.Color || a.Shape == b.Shape) continue;
            if (other.Color == a.Color || other.Color == b.Color || other.Shape == a.Shape || other.Shape == b.Shape) continue;
            Kind swappedA = swap == Swap.Attribute ? a with { Color = b.Color } : a, swappedB = swap == Swap.Attribute ? b with { Color = a.Color } : b;
            if (IsHeldOut(other)) continue;
            bool first = IsHeldOut(a) || IsHeldOut(b), second = IsHeldOut(swappedA) || IsHeldOut(swappedB);
            if (first != heldOut || second != heldOut) continue;
            Item item = Make(swap, a, b, swappedA, swappedB, _random.Next(2) == 0 ? other : null);
            return _random.Next(2) == 0 ? item : item with { First = item.Second, Second = item.First };
        }
    }

    Item Make(Swap swap, Kind a, Kind b, Kind swappedA, Kind swappedB, Kind? other)
    {
        switch (swap)
        {
            case Swap.Attribute:
                Func<Kind, Kind, string> both = Choose<Func<Kind, Kind, string>>(
                    (x, y) => $"a {x} and a {y}", (x, y) => $"there is a {x} and also a {y}", (x, y) => $"a picture of a {x} with a {y}",
                    (x, y) => $"one can see a {x} and a {y}");
                return new(swap, Place(both(a, b), [Any(a), Any(b), .. Others(other)]), Place(both(swappedA, swappedB), [Any(swappedA), Any(swappedB), .. Others(other)]));
            case Swap.Size:
                Func<Kind, Kind, string> sizes = Choose<Func<Kind, Kind, string>>(
                    (big, small) => $"a big {big} and a small {small}", (big, small) => $"there is a small {small} and a big {big}",
                    (big, small) => $"the {big} is bigger than the {small}", (big, small) => $"the {small} is smaller than the {big}");
                return new(swap, Place(sizes(a, b), [new(a, Big), new(b, Small), .. Others(other)]), Place(sizes(b, a), [new(b, Big), new(a, Small), .. Others(other)]));
            case Swap.Relation:
                bool across = _random.Next(2) == 0;
                Func<Kind, Kind, string> relation = across
                    ? Choose<Func<Kind, Kind, string>>((x, y) => $"the {x} is left of the {y}", (x, y) => $"a {y} to the right of a {x}",
                        (x, y) => $"a {x} to the left of a {y}", (x, y) => $"the {y} is right of the {x}",
                        (x, y) => $"a {x} on the left and a {y} on the right", (x, y) => $"there is a {y} on the right and a {x} on the left")
                    : Choose<Func<Kind, Kind, string>>((x, y) => $"the {x} is above the {y}", (x, y) => $"a {y} below a {x}",
                        (x, y) => $"a {x} above a {y}", (x, y) => $"the {y} is below the {x}",
                        (x, y) => $"a {x} above and a {y} below", (x, y) => $"there is a {y} below and a {x} above");
                return new(swap, Place(relation(a, b), [Any(a), Any(b), .. Others(other)], across), Place(relation(b, a), [Any(b), Any(a), .. Others(other)], across));
            default:
                Func<Kind, Kind, string> counts = Choose<Func<Kind, Kind, string>>(
                    (two, one) => $"two {two}s and one {one}", (two, one) => $"one {one} and two {two}s", (two, one) => $"there is one {one} with two {two}s");
                return new(swap, Place(counts(a, b), [Any(a), Any(a), Any(b)]), Place(counts(b, a), [Any(b), Any(b), Any(a)]));
        }
    }

    static string Spelled(string text) => text.Replace("crosss", "crosses", StringComparison.Ordinal).Replace("a orange", "an orange", StringComparison.Ordinal);

    // Of the first two objects the first is left of the second (across) or above it (not across), where that is wanted.
    Scene Place(string caption, Thing[] things, bool? across = null)
    {
        while (true)
        {
            Thing[] placed = [.. things.Select(t => t with { X = Coordinate(t.Radius), Y = Coordinate(t.Radius) })];
            bool apart = true;
            for (int i = 0; i < placed.Length; i++)
                for (int j = 0; j < i; j++)
                    apart &= MathF.Max(MathF.Abs(placed[i].X - placed[j].X), MathF.Abs(placed[i].Y - placed[j].Y)) > placed[i].Radius + placed[j].Radius + 1;
            float gap = across == true ? placed[1].X - placed[0].X : placed[1].Y - placed[0].Y;
            if (apart && (across is null || gap > 10)) return new(placed, Spelled(caption), _random.Next());
        }

        float Coordinate(float radius) => radius + 1 + _random.NextSingle() * (Edge - 2 * radius - 2);
    }

    Kind Kind() => new(_random.Next(Colors.Length), _random.Next(Shapes.Length));

    Thing Any(Kind kind) => new(kind, Small + 1 + _random.NextSingle() * (Big - Small - 1.5f));

    Thing[] Others(Kind? kind) => kind is { } k ? [Any(k)] : [];

    T Choose<T>(params T[] choices) => choices[_random.Next(choices.Length)];
}
