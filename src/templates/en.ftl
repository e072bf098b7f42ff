### English texts of mails, SMS and pages.
###
### $server is the name of this server, $address an e-mail address.

## All pages and mails

direction = ltr

# $unit is minutes, hours or days; $count is how many of them.
lifetime = { $unit ->
    [days] { $count ->
        [one] one day
       *[other] { $count } days
    }
    [hours] { $count ->
        [one] one hour
       *[other] { $count } hours
    }
   *[minutes] { $count ->
        [one] one minute
       *[other] { $count } minutes
    }
}

## The mail that asks to confirm an address

verification-subject = Confirm your e-mail address for { $server }
verification-heading = Confirm your e-mail address
verification-intro = Someone, hopefully you, wants to connect this e-mail address to a Matrix account, and asked { $server } to check that the address is theirs.
verification-action = To confirm it, open this link and press the button on the page:
verification-button = Confirm this address
verification-plain-link = If the button does not work, copy this link into your browser:
verification-expiry = The link works for { lifetime }.
verification-not-you = If it was not you, ignore this mail: nothing happens unless the link is opened and confirmed.
verification-sender = This mail was sent automatically by { $server }, a Matrix identity server.

## The SMS with a code. One SMS has room for 160 characters; with others than those of the alphabet of phones, such as
## typographic quotes, for 70.

# $token is the code.
sms-code = Your code is { $token }

## The mail of an invitation
##
## $inviter is the name of who invites, $kind is room or space; $named is yes if it has a name, which is $room then. These
## names are whatever a stranger chose.

invite-subject = { $named ->
    [yes] { $inviter } invites you to { $room }
   *[no] { $kind ->
        [space] { $inviter } invites you to a space on Matrix
       *[room] { $inviter } invites you to a room on Matrix
    }
}
invite-place = { $named ->
    [yes] { $kind ->
        [space] the space “{ $room }”
       *[room] the room “{ $room }”
    }
   *[no] { $kind ->
        [space] a space
       *[room] a room
    }
}
invite-heading = You are invited
invite-intro = { $inviter } invites you to { invite-place } on Matrix, a network for open and secure communication.
invite-action = To join, open this link, and sign in or make an account there:
invite-button = Join
invite-plain-link = If the button does not work, copy this link into your browser:
invite-expiry = The invitation holds for { lifetime }. The link is for you alone: whoever has it can join in your place.
invite-unknown = If you do not know who invites you, ignore this mail: nothing happens unless the link is opened.
invite-sender = This mail was sent automatically by { $server }, a Matrix identity server, which was given your address by whoever invites you. The names in it are theirs.

## The page behind the link

confirm-title = Confirm your e-mail address
confirm-question = Do you want to confirm that this e-mail address is yours?
confirm-button = Yes, confirm
confirm-not-you = If you did not ask for this, close this page. Nothing has happened yet.

verified-title = Confirmed
verified-message = Thank you, you have confirmed that this address or phone number is yours.
verified-continue = Continue
verified-close = You can close this page and go back to the app where you started.

failed-title = This did not work
failed-expired = This link is no longer valid because too much time has passed.
failed-expired-advice = Go back to the app where you started and ask for a new mail.
failed-unknown = This link is not valid. It may be incomplete, or it may belong to a request that has ended.
failed-unknown-advice = Check that the whole link from the mail was opened, or ask for a new mail in the app where you started.
failed-too-many-tries = This link was tried too often with a wrong code and no longer works.
failed-too-many-tries-advice = Go back to the app where you started and ask for a new mail.
failed-temporary = The server cannot do this right now.
failed-temporary-advice = Wait a minute, then open the link from the mail again.

## The front page

home-title = Matrix identity server
home-intro = { $server } is an identity server for Matrix, a network for open and secure communication.
home-purpose = It lets people prove that an e-mail address or phone number is theirs and connect it to their Matrix account, so that people who know the address can find them.
home-use = There is nothing to do here in a browser. Matrix apps use this server when you ask them to.
